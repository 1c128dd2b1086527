import type { BackendOptions } from '../block/backends/index.js';
import { SidecoreError } from '../errors.js';
import type { BlockFilter } from './contract.js';
import { callDefinition } from './definition-call.js';
import type { FrameFilter } from './frame-contract.js';
import { isSharedBytes } from './load.js';
import type { BlockFilterCheck, FilterAbilities } from './manage-contract.js';

/** A filter's definition, and what it is to be asked with. What it throws is said to be its own. */
interface Asked<Definition> {
  readonly use: string;
  readonly definition: Definition;
  readonly options: unknown;
  readonly base: string;
}

/** A device that a filter is of. */
type Site<Check> = Omit<Check, 'options' | 'base'>;

/** Has a filter look whether it could serve its disk. Makes and changes nothing. */
export function checkBlockFilter(asked: Asked<BlockFilter>, site: Site<BlockFilterCheck>): unknown {
  const { definition, options, base } = asked;
  return callDefinition(asked, 'check', () => definition.check?.({ ...site, options, base }));
}

/** The same for a card. */
export function checkFrameFilter(
  asked: Asked<FrameFilter>,
  site: Site<Parameters<NonNullable<FrameFilter['check']>>[0]>,
): void {
  const { definition, options, base } = asked;
  callDefinition(asked, 'check', () => definition.check?.({ ...site, options, base }));
}

/** The disks that a filter wants for itself. */
export function disksOf(asked: Asked<BlockFilter>, below: FilterAbilities): Record<string, BackendOptions> {
  const { definition, options, base } = asked;
  return callDefinition(asked, 'disks', () => definition.disks?.(options, { base, below })) ?? {};
}

/** Bytes of the memory that its queues share. */
export function sharedBytesOf(asked: Asked<BlockFilter>, below: FilterAbilities, queues: number): number {
  const { definition, options } = asked;
  const { sharedBytes = 0 } = definition;
  if (typeof sharedBytes === 'number') return sharedBytes;
  return wholeBytes(callDefinition(asked, 'sharedBytes', () => sharedBytes({ options, below, queues })));
}

/** The same of a card's filter. */
export function frameSharedBytesOf(asked: Asked<FrameFilter>): number {
  const { definition, options } = asked;
  const { sharedBytes = 0 } = definition;
  if (typeof sharedBytes === 'number') return sharedBytes;
  return wholeBytes(callDefinition(asked, 'sharedBytes', () => sharedBytes(options)));
}

function wholeBytes(bytes: unknown): number {
  if (isSharedBytes(bytes)) return bytes;
  throw new SidecoreError('FILTER_INVALID', `a filter wants ${bytes} bytes of shared memory`);
}

/** What a disk offers with a filter, over what is below. */
export function offered<Below extends FilterAbilities>(
  asked: Asked<BlockFilter>,
  below: Below,
  prepared: unknown,
): Below {
  const { definition, options } = asked;
  const change = callDefinition(asked, 'offers', () => definition.offers?.(below, options, prepared)) ?? {};
  return { ...below, ...onlyAbilities(change), ...(definition.defers ? { inOrder: false } : {}) };
}

/** The same of a filter that has prepared nothing yet; undefined if that cannot be known. */
export function offeredUnprepared(asked: Asked<BlockFilter>, below: FilterAbilities): FilterAbilities | undefined {
  const parameters = asked.definition.offers?.length ?? 0;
  return parameters < 3 ? offered(asked, below, undefined) : undefined;
}

/** Of what a filter says, which may be anything. */
function onlyAbilities(said: Partial<FilterAbilities>): Partial<FilterAbilities> {
  const known = ['readOnly', 'discard', 'writeZeroes', 'secureErase', 'inOrder'] as const;
  const flags = known.filter((key) => said[key] !== undefined).map((key) => [key, said[key] === true]);
  const { sizeBytes } = said;
  const size = Number.isInteger(sizeBytes) && sizeBytes! > 0 ? { sizeBytes } : {};
  return { ...Object.fromEntries(flags), ...size };
}
