import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FILTER_NOTE_MS_MAX } from '../limits.js';
import { Note } from './note.js';

/** Thrown where a thread that is ended would be. */
class Ended extends Error {}

describe('a note', () => {
  for (const [what, startMs] of [
    ['', 1.76e12],
    [', whatever the time is', 2 ** 31 - FILTER_NOTE_MS_MAX / 2],
  ] as const)
    it(`is left and looked at again after a thread was ended that was at it${what}`, (test) => {
      let ms = startMs;
      const memory = new SharedArrayBuffer(Note.BYTES);
      const note = new Note(memory, 0, () => ms);
      const other = new Note(memory, 0, () => ms);
      note.leave('first');
      assert.equal(other.look(), 'first');
      assert.equal(other.look(), undefined);
      const write = test.mock.method(Buffer.prototype, 'write', () => {
        throw new Ended();
      });
      assert.throws(() => note.leave('cut short'), Ended);
      write.mock.restore();
      other.leave('lost');
      assert.equal(other.look(), undefined);
      ms += FILTER_NOTE_MS_MAX;
      other.leave('second');
      assert.equal(other.look(), 'second');
      // The daemon's end may be cut short as well, and is at a text that was left.
      note.leave('third');
      const read = test.mock.method(Buffer.prototype, 'toString', () => {
        throw new Ended();
      });
      assert.throws(() => other.look(), Ended);
      read.mock.restore();
      const anew = new Note(memory, 0, () => ms);
      assert.equal(anew.look(), undefined);
      ms += FILTER_NOTE_MS_MAX;
      assert.equal(anew.look(), 'third');
    });

  it('passes by who takes too long, who comes to an end after all', (test) => {
    let ms = 1000;
    const memory = new SharedArrayBuffer(Note.BYTES);
    const [slow, next, third] = [0, 1, 2].map(() => new Note(memory, 0, () => ms)) as [Note, Note, Note];
    const write = Buffer.prototype.write;
    let depth = 0;
    test.mock.method(Buffer.prototype, 'write', function (this: Buffer, text: string) {
      depth++;
      if (depth === 1) {
        ms += FILTER_NOTE_MS_MAX;
        next.leave('next');
      } else if (depth === 2) {
        // `slow` has not ended, and `next` is at it: this one is lost.
        third.leave('third');
      }
      return write.call(this, text);
    });
    slow.leave('slow');
    assert.equal(depth, 2);
    assert.equal(third.look(), 'slow');
  });
});
