import { virtqueueConformance } from './virtqueue.js';
import { splitLayout } from './virtqueue-split.js';

virtqueueConformance(splitLayout);
