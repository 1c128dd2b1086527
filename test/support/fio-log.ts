/**
 * What fio's reader of logs would complain about, by its documentation ("Trace file format v3") and its own reading (iolog.c): a first
 * line that says the version; then time in microseconds, file name, action, and for I/O offset and length, which is 32 bits.
 */
export function fioLogFaults(text: string): string[] {
  const [first, ...lines] = text.split('\n');
  const faults: string[] = [];
  if (first !== 'fio version 3 iolog') faults.push(`first line: ${first}`);
  if (lines.pop() !== '') faults.push('the last line has no end');
  const added = new Set<string>();
  const opened = new Set<string>();
  let last = 0;
  for (const [index, line] of lines.entries()) {
    const fault = (why: string) => faults.push(`line ${index + 2}: ${why}: ${line}`);
    const [time, file, action, offset, length, ...more] = line.split(' ');
    if (!/^\d+$/.test(time ?? '') || file === undefined || action === undefined || more.length > 0) {
      fault('form');
      continue;
    }
    if (line.length > 4094 || file.length > 256) fault('length');
    if (Number(time) < last) fault('time goes back');
    last = Number(time);
    if (['add', 'open', 'close'].includes(action)) {
      if (offset !== undefined) fault('a file action with an offset');
      if (action === 'add') added.add(file);
      else if (!added.has(file)) fault('not added');
      if (action === 'open') opened.add(file);
      if (action === 'close') opened.delete(file);
      continue;
    }
    if (!['read', 'write', 'sync', 'datasync', 'trim'].includes(action)) fault('action');
    if (!opened.has(file)) fault('not open');
    if (!/^\d+$/.test(offset ?? '') || !/^\d+$/.test(length ?? '')) fault('offset and length');
    if (Number(length) >= 2 ** 32) fault('length');
    if ((action === 'sync' || action === 'datasync') !== (Number(length) === 0)) fault('length');
  }
  if (opened.size > 0) faults.push(`still open: ${[...opened]}`);
  return faults;
}
