import { virtqueueConformance } from './virtqueue.js';
import { packedLayout } from './virtqueue-packed.js';
import { splitLayout } from './virtqueue-split.js';

for (const layout of [splitLayout, packedLayout]) virtqueueConformance(layout);
