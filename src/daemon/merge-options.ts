type Options = Readonly<Record<string, unknown>>;

const isOptions = (value: unknown): value is Options =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Options with others over them: keys with keys below them are merged too, all else takes the place of what was there. */
export function mergeOptions(below: Options, over: Options): Record<string, unknown> {
  const merged: Record<string, unknown> = { ...below };
  for (const [key, value] of Object.entries(over)) {
    const before = Object.hasOwn(merged, key) ? merged[key] : undefined;
    merged[key] = isOptions(before) && isOptions(value) ? mergeOptions(before, value) : value;
  }
  return merged;
}
