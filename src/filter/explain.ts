import { z } from 'zod';

const EXPECTED: Record<string, string> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'keys and values',
  record: 'keys and values',
};

/** Says in plain English what a value should have been; undefined leaves it to the schema's own words. */
export function explain(issue: z.core.$ZodRawIssue): string | undefined {
  const { input } = issue;
  switch (issue.code) {
    case 'invalid_type':
      return expects(EXPECTED[issue.expected] ?? issue.expected, input);
    case 'invalid_value':
      return expects(oneOf(issue.values), input);
    case 'invalid_union': {
      const { discriminator, options } = issue;
      if (discriminator === undefined) return expects('text or a number', input);
      return expects(oneOf(options as string[]), (input as Record<string, unknown>)[discriminator]);
    }
    case 'too_small':
      return expects(`${issue.inclusive === false ? 'more than' : 'at least'} ${issue.minimum}`, input);
    case 'too_big':
      return expects(`at most ${issue.maximum}`, input);
    case 'invalid_key':
      return issue.issues[0]?.message;
    case 'unrecognized_keys': {
      const known = issue.inst instanceof z.ZodObject ? Object.keys(issue.inst.shape) : [];
      return `unknown key; known here: ${known.join(', ')}`;
    }
    default:
      return undefined;
  }
}

function expects(what: string, input: unknown): string {
  if (input === undefined) return `is missing: expects ${what}`;
  if (input === null) return `has no value: expects ${what}`;
  return `expects ${what}, not ${show(input)}`;
}

function oneOf(values: readonly unknown[]): string {
  const shown = values.map((value) => String(value));
  const last = shown.pop();
  return shown.length === 0 ? String(last) : `${shown.join(', ')} or ${last}`;
}

function show(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? String(value);
  return Array.isArray(value) ? 'a list' : 'keys and values';
}
