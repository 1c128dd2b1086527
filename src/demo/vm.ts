import type { DemoOptions } from './plan.js';
export async function runVm(_options: DemoOptions, _signal: AbortSignal): Promise<number> { return 0; }
