const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Time after the first signal in which others are of the same request, ms: `timeout` (coreutils) signals its child, then its whole
 * group, and so do some supervisors.
 */
const SAME_REQUEST_MS = 500;

/** Calls back at the first SIGINT, SIGTERM or SIGHUP. One that comes later than right after it ends the process at once. */
export function onStopSignal(stop: () => void): void {
  let stopping = false;
  const onSignal = () => {
    if (stopping) return;
    stopping = true;
    stop();
    // From then on signals do what they do by themselves, even if this thread should be busy.
    setTimeout(() => {
      for (const signal of SIGNALS) process.off(signal, onSignal);
    }, SAME_REQUEST_MS).unref();
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
}
