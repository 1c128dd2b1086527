/** A column of a printed table. */
export interface Column {
  readonly head: string;
  /** Numbers stand at the right. */
  readonly right?: boolean;
  /** Columns with the highest number go first where the terminal is too narrow; those without stay. */
  readonly spare?: number;
}

/** A column of numbers. */
export const rightColumn = (head: string, spare = 0): Column => ({ head, right: true, spare });

/** Lays rows out under their heads, no wider than `width` characters: first whole columns go, then ends of lines. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[], width: number): string {
  let shown = columns.map((_, index) => index);
  const widths = columns.map(({ head }, index) => Math.max(head.length, ...rows.map((row) => row[index]!.length)));
  while (lineLength(shown, widths) > width) {
    const spare = Math.max(...shown.map((index) => columns[index]!.spare ?? 0));
    if (spare === 0) break;
    shown = shown.filter((index) => columns[index]!.spare !== spare);
  }
  const line = (cells: readonly string[]) => {
    const padded = shown.map((index) => {
      const cell = cells[index]!;
      return columns[index]!.right ? cell.padStart(widths[index]!) : cell.padEnd(widths[index]!);
    });
    return cut(padded.join(GAP).trimEnd(), width);
  };
  return [columns.map(({ head }) => head), ...rows].map((cells) => `${line(cells)}\n`).join('');
}

const GAP = '  ';

function lineLength(shown: readonly number[], widths: readonly number[]): number {
  return shown.reduce((sum, index) => sum + widths[index]!, GAP.length * (shown.length - 1));
}

function cut(line: string, width: number): string {
  return line.length <= width ? line : `${line.slice(0, Math.max(1, width) - 1)}…`;
}

/** Characters in a line of the terminal; unbounded where the output goes elsewhere. */
export function terminalWidth(): number {
  return process.stdout.isTTY ? process.stdout.columns : Number.POSITIVE_INFINITY;
}

const SIZE_UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** A number of bytes in the largest unit that leaves it readable: "10 GiB", "1.5 MiB", "512 bytes". */
export function sizeText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  for (; value >= 1024 && unit < SIZE_UNITS.length - 1; unit++) value /= 1024;
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${SIZE_UNITS[unit]}`;
}
