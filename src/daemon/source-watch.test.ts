import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { SourceWatch } from './source-watch.js';

describe('SourceWatch', { timeout: 30_000 }, () => {
  let folder: string;
  let told: number;
  let watch: SourceWatch;
  let busy: NodeJS.Timeout | undefined;

  const write = (name: string) => writeFileSync(join(folder, name), 'x');
  const keepWriting = (name: string) => {
    busy = setInterval(() => write(name), 10);
  };
  const untilTold = async (count: number) => {
    while (told < count) await sleep(10);
  };

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'sidecore-watch-'));
    told = 0;
    write('a.ts');
    watch = new SourceWatch(
      () => told++,
      (text) => assert.fail(text),
    );
    watch.watch([join(folder, 'a.ts')], Date.now() + 60_000);
  });

  afterEach(() => {
    clearInterval(busy);
    watch.close();
    rmSync(folder, { recursive: true });
  });

  it('tells of a file that is saved without end', async () => {
    keepWriting('a.ts');
    await untilTold(2);
  });

  it('is not kept from it by what is no source', async () => {
    watch.watchOthers(true);
    keepWriting('disk.img');
    await sleep(300);
    assert.equal(told, 0);
    write('a.ts');
    await untilTold(1);
    write('other.ts');
    await untilTold(2);
  });

  it('tells of others only while it is asked to', async () => {
    watch.watchOthers(true);
    watch.watchOthers(false);
    keepWriting('other.ts');
    await sleep(300);
    assert.equal(told, 0);
    write('a.ts');
    await untilTold(1);
  });
});
