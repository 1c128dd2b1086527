/** The phase that all queues are in, or how many are in which; nothing of those that the front end has never set up. */
export function phases(queues: readonly { readonly phase: string | undefined; readonly size: number }[]): string {
  const counts = new Map<string, number>();
  for (const { phase = '?', size } of queues) if (size > 0) counts.set(phase, (counts.get(phase) ?? 0) + 1);
  if (counts.size === 0) return '-';
  if (counts.size === 1) return [...counts.keys()][0]!;
  return [...counts].map(([phase, count]) => `${count} ${phase}`).join(', ');
}
