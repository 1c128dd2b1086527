import assert from 'node:assert/strict';
import { it } from 'node:test';
import { sizeText, table } from './table.js';

const COLUMNS = [
  { head: 'NAME' },
  { head: 'COUNT', right: true, spare: 1 },
  { head: 'RATE', right: true, spare: 2 },
  { head: 'NOTE' },
];
const ROWS = [
  ['root', '1', '22', 'fine'],
  ['much-longer', '1234567', '3', ''],
];

it('a table has columns under their heads, numbers at the right, and nothing behind the last word', () => {
  assert.equal(
    table(COLUMNS, ROWS, Number.POSITIVE_INFINITY),
    'NAME           COUNT  RATE  NOTE\nroot               1    22  fine\nmuch-longer  1234567     3\n',
  );
});

it('a table loses columns, then ends of lines, where there is no room', () => {
  assert.equal(
    table(COLUMNS, ROWS, 30),
    'NAME           COUNT  NOTE\nroot               1  fine\nmuch-longer  1234567\n',
  );
  assert.equal(table(COLUMNS, ROWS, 20), 'NAME         NOTE\nroot         fine\nmuch-longer\n');
  assert.equal(table(COLUMNS, ROWS, 15), 'NAME         N…\nroot         f…\nmuch-longer\n');
});

it('a table may have no rows', () => assert.equal(table([{ head: 'A' }], [], 80), 'A\n'));

it('sizes are in the largest unit that leaves them readable', () => {
  const sizes: [number, string][] = [
    [512, '512 bytes'],
    [1024, '1 KiB'],
    [10 * 2 ** 30, '10 GiB'],
    [1.5 * 2 ** 20, '1.5 MiB'],
    [2 ** 52, '4 PiB'],
    [1e9, '953.7 MiB'],
  ];
  for (const [bytes, text] of sizes) assert.equal(sizeText(bytes), text);
});
