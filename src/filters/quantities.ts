/** Quantities as options of filters write them. */

const BYTES: Readonly<Record<string, number>> = {
  '': 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
};
const NS: Readonly<Record<string, number>> = { ns: 1, us: 1e3, ms: 1e6, '': 1e9, s: 1e9, min: 60e9 };

function read(text: string | number, units: Readonly<Record<string, number>>): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(String(text).trim());
  const unit = match === null ? undefined : units[match[2]!];
  return unit === undefined ? undefined : Number(match![1]) * unit;
}

/** Reads "64KiB", "1.5 MB" or a number as bytes; undefined if it is none of these. */
export const parseBytes = (text: string | number): number | undefined => read(text, BYTES);

/** Reads "5ms", "1.5 s" or a number of seconds as ns; undefined if it is none of these. */
export const parseDuration = (text: string | number): number | undefined => read(text, NS);

/** A duration, ns, as `parseDuration` reads it, in the largest unit that it has one of. */
export function durationText(ns: number): string {
  const unit = (['s', 'ms', 'us'] as const).find((name) => ns >= NS[name]!) ?? 'ns';
  return `${ns / NS[unit]!}${unit}`;
}
