let made = 0;

/**
 * A function made from a text, as `new Function` makes it, that has nothing in common with others of the same text. V8 would take what
 * it has compiled of that text before, with what it has learned: then a place that calls this filter's code is one that has called
 * others' as well, and nothing is inlined there.
 */
export function freshFunction(...namesAndBody: readonly string[]): unknown {
  made++;
  return new Function(...namesAndBody.slice(0, -1), `${namesAndBody.at(-1)}\n//${made}`);
}
