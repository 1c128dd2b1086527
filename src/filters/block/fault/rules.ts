import type { z } from 'zod';
import { RequestType, SECTOR_BYTES } from '../../../filter/index.js';
import { FAULT_RULES_MAX, REQUEST_BYTES_MAX } from '../../../limits.js';
import { parseDuration } from '../../quantities.js';

/** What is done to a request. */
export const Action = { ERROR: 1, UNSUPPORTED: 2, HANG: 3, LIE: 4, DELAY: 5, TORN: 6, CORRUPT: 7 } as const;
const ACTION_NAMES = ['none', 'error', 'unsupported', 'hang', 'lie', 'delay', 'torn', 'corrupt'] as const;

/** Kinds of requests, by what rules say, as bits of their types. */
const KINDS = {
  read: [RequestType.IN],
  write: [RequestType.OUT],
  flush: [RequestType.FLUSH],
  discard: [RequestType.DISCARD, RequestType.WRITE_ZEROES, RequestType.SECURE_ERASE],
} as const;
const BITS: readonly number[] = Object.values<readonly number[]>(KINDS).flat();

/** The bit of a request's type. */
export const bitOf = (type: number): number => 1 << BITS.indexOf(type);

const maskOf = (on: keyof typeof KINDS | 'any'): number =>
  on === 'any' ? 2 ** BITS.length - 1 : (KINDS[on] as readonly number[]).reduce((mask, type) => mask | bitOf(type), 0);

/** Of `corrupt: random`. */
export const RANDOM_BIT = -1;

/** A rule in numbers. */
export interface Rule {
  /** Of `bitOf`. */
  readonly kinds: number;
  /** First and last sector; of flushes they mean nothing. */
  readonly from: number;
  readonly to: number;
  /** Of requests that match: passes so many, then meets each so many, with this probability, so many times at most (zero: any). */
  readonly after: number;
  readonly every: number;
  readonly probability: number;
  readonly times: number;
  /** Of `Action`. */
  readonly action: number;
  /** ns of a delay, bytes that are written, a bit. */
  readonly value: number;
  /** The guest is told that all is well. */
  readonly lie: boolean;
}

/** The fields in the order in which shared memory has them. */
export const FIELDS = [
  'kinds',
  'from',
  'to',
  'after',
  'every',
  'probability',
  'times',
  'action',
  'value',
  'lie',
] as const;

/** The options: rules as an operator writes them, and what chance comes from. */
export function faultOptions(zod: typeof z) {
  const sector = zod
    .int()
    .min(0)
    .max(2 ** 43);
  const duration = zod.union([zod.string(), zod.number()]).transform((text, context) => {
    const ns = parseDuration(text);
    if (ns !== undefined && ns <= 3600e9) return ns;
    context.addIssue(`${JSON.stringify(text)} is no time up to an hour: write "5ms"`);
    return zod.NEVER;
  });
  const action = zod.union(
    [
      zod.enum(['error', 'unsupported', 'hang', 'lie']),
      zod.strictObject({ delay: duration }),
      zod.strictObject({ torn: zod.int().min(0).max(REQUEST_BYTES_MAX), lie: zod.boolean().default(false) }),
      zod.strictObject({
        corrupt: zod.union([
          zod
            .int()
            .min(0)
            .max(8 * REQUEST_BYTES_MAX),
          zod.literal('random'),
        ]),
      }),
    ],
    'is error, unsupported, hang, lie, { delay: 5ms }, { torn: bytes }, { corrupt: bit } or { corrupt: random }',
  );
  const rule = zod
    .strictObject({
      on: zod.enum(['read', 'write', 'flush', 'discard', 'any']).default('any'),
      sectors: zod.tuple([sector, sector]).optional(),
      after: zod
        .int()
        .min(0)
        .max(2 ** 30)
        .default(0),
      every: zod
        .int()
        .min(1)
        .max(2 ** 30)
        .default(1),
      probability: zod.number().min(0).max(1).default(1),
      once: zod.boolean().default(false),
      do: action,
    })
    .superRefine(({ on, sectors, do: what }, context) => {
      if (sectors !== undefined && sectors[0] > sectors[1]) context.addIssue('sectors: the first is after the last');
      if (typeof what === 'object' && 'torn' in what && on !== 'write')
        context.addIssue('torn is for writes: on: write');
      if (typeof what === 'object' && 'corrupt' in what && on !== 'write' && on !== 'read')
        context.addIssue('corrupt is for reads or writes: on: read, on: write');
      if (what === 'lie' && (on === 'read' || on === 'any')) context.addIssue('a read has nothing to lie about');
    });
  return zod.strictObject({
    rules: zod.array(rule).max(FAULT_RULES_MAX, `at most ${FAULT_RULES_MAX} rules`).default([]),
    seed: zod
      .int()
      .min(0)
      .max(2 ** 32 - 1)
      .default(1),
  });
}

export type FaultOptions = z.output<ReturnType<typeof faultOptions>>;
export type WrittenRule = FaultOptions['rules'][number];

export function ruleOf({ on, sectors, after, every, probability, once, do: what }: WrittenRule): Rule {
  const [from, to] = sectors ?? [0, Number.MAX_SAFE_INTEGER];
  return { kinds: maskOf(on), from, to, after, every, probability, times: once ? 1 : 0, ...actionOf(what) };
}

function actionOf(what: WrittenRule['do']): Pick<Rule, 'action' | 'value' | 'lie'> {
  if (typeof what === 'string') return { action: ACTION_NAMES.indexOf(what), value: 0, lie: what === 'lie' };
  if ('delay' in what) return { action: Action.DELAY, value: what.delay, lie: false };
  if ('torn' in what) return { action: Action.TORN, value: what.torn, lie: what.lie };
  return { action: Action.CORRUPT, value: what.corrupt === 'random' ? RANDOM_BIT : what.corrupt, lie: true };
}

/** A rule as `key=value` says it: `on=write every=10 do=torn torn=512`. Throws nothing: the schema finds what is wrong. */
export function ruleFromText(given: Readonly<Record<string, string>>): Record<string, unknown> {
  const { do: what, torn, delay, corrupt, lie, sectors, ...rest } = given;
  const said = Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, plain(value)]));
  const withValue =
    torn !== undefined
      ? { torn: plain(torn), ...(lie === undefined ? {} : { lie: plain(lie) }) }
      : delay !== undefined
        ? { delay }
        : corrupt !== undefined
          ? { corrupt: plain(corrupt) }
          : what;
  return {
    ...said,
    ...(sectors === undefined ? {} : { sectors: sectors.split('-').map(Number) }),
    ...(withValue === undefined ? {} : { do: withValue }),
  };
}

function plain(text: string): string | number | boolean {
  if (text === 'true' || text === 'false') return text === 'true';
  return text !== '' && Number.isFinite(Number(text)) ? Number(text) : text;
}

/** A rule as an operator would write it; of those with a value, `do` has it. */
export function textOf(rule: Rule): Record<string, unknown> {
  const on = (['any', 'read', 'write', 'flush', 'discard'] as const).find((kind) => maskOf(kind) === rule.kinds)!;
  const name = ACTION_NAMES[rule.action]!;
  const value =
    rule.action === Action.DELAY
      ? { delay: `${rule.value / 1e6}ms` }
      : rule.action === Action.TORN
        ? { torn: rule.value, lie: rule.lie }
        : rule.action === Action.CORRUPT
          ? { corrupt: rule.value === RANDOM_BIT ? 'random' : rule.value }
          : name;
  return {
    on,
    ...(rule.to === Number.MAX_SAFE_INTEGER ? {} : { sectors: [rule.from, rule.to] }),
    ...(rule.after === 0 ? {} : { after: rule.after }),
    ...(rule.every === 1 ? {} : { every: rule.every }),
    ...(rule.probability === 1 ? {} : { probability: rule.probability }),
    ...(rule.times === 0 ? {} : { once: true }),
    do: value,
  };
}

/** Sectors of so many bytes. */
export const sectorsOf = (bytes: number): number => Math.ceil(bytes / SECTOR_BYTES);
