import { Worker } from 'node:worker_threads';
import { messageOf, SidecoreError } from '../../../errors.js';
import { CANCELLED, Progress, type Task } from './tasks.js';

const TASK_THREAD = new URL('./task-thread.js', import.meta.url);

/** Ended jobs that are remembered. */
const REMEMBERED = 16;

/** Something that takes a while, as operators see it. */
export interface Job {
  readonly job: number;
  readonly kind: string;
  readonly state: 'running' | 'done' | 'failed' | 'cancelled';
  readonly done_bytes: number;
  readonly total_bytes: number;
  readonly error: string | null;
}

interface Entry {
  readonly id: number;
  readonly kind: string;
  readonly progress: Progress;
  readonly ended: Promise<void>;
  state: Job['state'];
  error: string | null;
}

/** What is under way beside a disk's queues, each on a thread of its own. */
export class Jobs {
  readonly #entries: Entry[] = [];
  readonly #workers = new Map<Worker, Progress>();
  #lastId = 0;

  /** Does a task on a thread of its own. Throws what is wrong. */
  run(task: Task): Promise<void> {
    const worker = new Worker(TASK_THREAD, { workerData: task, name: `snapshot ${task.kind}` });
    this.#workers.set(worker, new Progress(task.progress));
    return new Promise((resolve, reject) => {
      worker.once('message', (fault: string | null) => {
        if (fault === null) resolve();
        else reject(new SidecoreError('IMAGE_INVALID', fault));
      });
      worker.once('error', reject);
      worker.once('exit', () => {
        this.#workers.delete(worker);
        reject(new SidecoreError('IMAGE_INVALID', 'its thread has ended'));
      });
    });
  }

  /** Remembers something that is under way. */
  add(kind: string, progress: Progress, done: Promise<void>): Job {
    const entry: Entry = {
      id: ++this.#lastId,
      kind,
      progress,
      state: 'running',
      error: null,
      ended: done.then(
        () => {
          entry.state = 'done';
        },
        (error) => {
          entry.error = messageOf(error);
          entry.state = entry.error === CANCELLED ? 'cancelled' : 'failed';
        },
      ),
    };
    this.#entries.push(entry);
    if (this.#entries.length > REMEMBERED) this.#entries.shift();
    return describe(entry);
  }

  find(id: number): Job {
    return describe(this.#entry(id));
  }

  cancel(id: number): void {
    this.#entry(id).progress.cancel();
  }

  #entry(id: number): Entry {
    const entry = this.#entries.find((candidate) => candidate.id === id);
    if (entry === undefined) throw new SidecoreError('CONFIG_INVALID', `there is no job ${id}`);
    return entry;
  }

  /** Has exports end; waits for what cannot. */
  async stop(): Promise<void> {
    for (const progress of this.#workers.values()) progress.cancel();
    await Promise.all(this.#entries.map(({ ended }) => ended));
  }
}

const describe = ({ id, kind, state, progress, error }: Entry): Job => ({
  job: id,
  kind,
  state,
  done_bytes: progress.done,
  total_bytes: progress.total,
  error,
});
