import assert from 'node:assert/strict';
import { it } from 'node:test';
import { printable } from './style.js';

it('a line of a console is shown without its control sequences', () => {
  // What SeaBIOS begins with.
  assert.equal(printable('\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS (version 1.16)\r'), 'SeaBIOS (version 1.16)');
  assert.equal(printable('\x1b(Ba\x1b[1;31mb\x1b[m\tc\x07 ü'), 'ab\tc ');
});
