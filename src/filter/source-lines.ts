import { SourceMap } from 'node:module';
import { relative, resolve } from 'node:path';

/** Places in the sources of a bundled module. */
export class SourceLines {
  readonly #file: string | undefined;
  readonly #base: string;
  readonly #text: string | undefined;
  /** Read when it is needed, which takes a while. */
  #map: SourceMap | undefined;

  /**
   * @param file - what stack traces call the bundle
   * @param base - folder that sources are named from
   * @param map - source map, JSON
   */
  constructor(file?: string, base = '/', map?: string) {
    this.#file = file;
    this.#base = base;
    this.#text = map;
  }

  /** The same text, but that a place `FILE:LINE:COLUMN` in the bundle, in parentheses at its end, is one in the sources. */
  translate(text: string): string {
    const match = / \((.+):(\d+):(\d+)\)$/.exec(text);
    if (match === null || match[1] !== this.#file || this.#text === undefined) return text;
    this.#map ??= new SourceMap(JSON.parse(this.#text));
    const entry = this.#map.findEntry(Number(match[2]) - 1, Number(match[3]) - 1);
    if (!('originalSource' in entry)) return text;
    const source = relative(this.#base, resolve(this.#base, entry.originalSource));
    return `${text.slice(0, match.index)} (${source}:${entry.originalLine + 1})`;
  }
}
