import { messageOf, SidecoreError } from '../errors.js';

/** Calls a hook of a filter's definition on the main thread, and says whose it was that threw. */
export function callDefinition<T>({ use }: { readonly use: string }, hook: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (error instanceof SidecoreError) throw error;
    throw new SidecoreError('FILTER_INVALID', `${hook}() of the filter ${use} has thrown: ${messageOf(error)}`, '', {
      cause: error,
    });
  }
}
