import { parentPort, workerData } from 'node:worker_threads';
import { FilterHelpers, type HelperSetup } from '../filter/helpers.js';
import { ALL_BLOCK_FILTERS } from '../filters/block/index.js';

/** Entry of the thread of filters' helpers. */
const helpers = new FilterHelpers(workerData as SharedArrayBuffer, ALL_BLOCK_FILTERS);
parentPort!.on('message', (setup: HelperSetup) => helpers.add(setup));
void helpers.run();
