/** Disks behind filters that shall change nothing are back ends like any other: unthrottled, throttled, traced, and with no faults to make. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { type BackendHost, openDisk } from '../../src/block/backends/backend.js';
