/** Memory that filters of several devices share, by their name and group; for as long as the daemon runs. */
export class FilterGroups {
  readonly #groups = new Map<string, SharedArrayBuffer>();

  /** @param group - undefined: memory of one's own */
  memoryOf(name: string, group: string | undefined, bytes: number): SharedArrayBuffer {
    if (group === undefined) return new SharedArrayBuffer(bytes);
    const key = `${name} ${group}`;
    const found = this.#groups.get(key);
    if (found?.byteLength === bytes) return found;
    const made = new SharedArrayBuffer(bytes);
    this.#groups.set(key, made);
    return made;
  }
}
