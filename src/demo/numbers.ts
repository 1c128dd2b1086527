/** Numbers for people. */

/** "1,234,567". */
export const whole = (value: number): string => Math.round(value).toLocaleString('en');

/** Microseconds: one decimal below 100. */
export const micros = (us: number): string => (us < 100 ? us.toFixed(1) : whole(us));

/** A count for each request; what is there is never shown as nothing. */
export function perRequest(value: number | null): string {
  if (value === null) return '-';
  return value > 0 && value < 0.0005 ? '<0.001' : value.toFixed(3);
}

export const percent = (share: number): string => `${Math.round(100 * share)}%`;

/** How many times: "12", "3.4", "0.87". */
export const times = (ratio: number): string => (ratio >= 10 ? whole(ratio) : ratio.toFixed(ratio >= 1 ? 1 : 2));

/** A bar of `width` characters, filled in eighths. */
export function bar(share: number, width: number): string {
  const eighths = Math.round(Math.min(1, Math.max(0, share)) * width * 8);
  const full = Math.floor(eighths / 8);
  const rest = eighths % 8 === 0 ? '' : '▏▎▍▌▋▊▉'[(eighths % 8) - 1]!;
  return `${'█'.repeat(full)}${rest}`.padEnd(width, '·');
}

/** The last values as columns, one character each, the highest at full height. */
export function sparkline(values: readonly number[], width: number): string {
  const shown = values.slice(-Math.max(0, width));
  const most = Math.max(...shown);
  return shown.map((value) => '▁▂▃▄▅▆▇█'[Math.min(7, Math.floor((8 * value) / (most || 1)))]).join('');
}
