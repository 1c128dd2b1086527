/**
 * No wake-up is lost, whatever the order in which the two ends of a ring take their steps: shown by going through all orders, for a few
 * requests. And what would lose one if it were left out does, so that the search is known to find it.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { explore } from './machine.js';
import { CELLS, LINES, type Mutation, programsOf, type Scene } from './rings.js';

/** What is left out, and what it takes to show. */
const MUTATIONS: readonly (readonly [Mutation, Partial<Scene>])[] = [
  ['driver without fences', {}],
  ['device without fences', {}],
  ['device that does not look again after it has asked for kicks', {}],
  ['driver that does not look again after it has asked for calls', {}],
  ['device that reads the wish for calls before it publishes', {}],
  ['device that forgets a held call when it sleeps', { held: true }],
  ['device that drops a held call', { held: true }],
];

const run = (scene: Scene) => explore(programsOf(scene), CELLS, LINES);

for (const kind of ['split', 'packed'] as const) {
  for (const eventIdx of [false, true]) {
    const common: Scene = { kind, eventIdx, size: 2, requests: 2, depth: 1, held: false, suppresses: true };
    describe(`notification, ${kind}, by ${eventIdx ? 'event index' : 'flag'}`, () => {
      for (const suppresses of [true, false]) {
        const how = suppresses ? 'turns calls off while it is awake' : 'leaves them on';
        for (const [what, scene] of [
          ['one request in flight', {}],
          ['one request in flight, whose call may wait', { held: true }],
          ['two requests in flight', { depth: 2 }],
          ['two requests in flight, whose calls may wait', { depth: 2, held: true }],
          [
            'three requests, two in flight, in a ring that wraps, whose calls may wait',
            { requests: 3, depth: 2, held: true },
          ],
        ] as const) {
          it(`never leaves both ends asleep: ${what}, a driver that ${how}`, (test) => {
            const { states, stuck } = run({ ...common, suppresses, ...scene });
            test.diagnostic(`${states} states`);
            assert.equal(stuck, undefined, stuck?.join('\n'));
            assert.ok(states > 100, 'the search has gone somewhere');
          });
        }
      }

      for (const [mutation, scene] of MUTATIONS) {
        it(`finds what a ${mutation} comes to`, () => {
          const { stuck } = run({ ...common, ...scene, mutation });
          assert.ok(stuck !== undefined, 'nothing is lost');
          assert.ok(stuck.length > 5);
        });
      }
    });
  }
}
