/** Colours of a terminal; without one, text as it is. */
export interface Style {
  bold(text: string): string;
  dim(text: string): string;
  good(text: string): string;
  bad(text: string): string;
  accent(text: string): string;
}

const around = (code: number) => (text: string) => `\x1b[${code}m${text}\x1b[0m`;

export const COLOURED: Style = {
  bold: around(1),
  dim: around(2),
  good: around(32),
  bad: around(31),
  accent: around(36),
};

const same = (text: string): string => text;
export const PLAIN: Style = { bold: same, dim: same, good: same, bad: same, accent: same };

/** Colours where they are seen and not unwanted (https://no-color.org). */
export function styleFor(stream: { isTTY?: boolean }): Style {
  return stream.isTTY && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb' ? COLOURED : PLAIN;
}

/** Breaks text into lines of at most `width` characters, those after the first indented. */
export function wrap(text: string, width: number, indent = ''): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (longer.length <= width || line.trim() === '') {
      line = longer;
    } else {
      lines.push(line);
      line = `${indent}${word}`;
    }
  }
  return [...lines, line];
}

/** A line with colours, cut to `width` visible characters. */
export function cutTo(line: string, width: number): string {
  let visible = 0;
  let cut = '';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal's colours are what is looked for
  for (const part of line.split(/(\x1b\[[0-9;]*m)/)) {
    if (part.startsWith('\x1b')) {
      cut += part;
      continue;
    }
    cut += part.slice(0, width - visible);
    visible = Math.min(width, visible + part.length);
  }
  return cut;
}

/** A line without what would move the cursor, clear or reset the terminal (ECMA-48: control sequences, and short ones like ESC c). */
export function printable(line: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
  return line.replace(/\x1b(?:\[[0-?]*[ -/]*[@-~]|[ -/]*[0-~])/g, '').replace(/[^\t\x20-\x7e]/g, '');
}
