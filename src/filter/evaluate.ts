import { createRequire, isBuiltin } from 'node:module';
import { compileFunction } from 'node:vm';
import * as own from './index.js';

/** A plain object: what is read from it may be taken for constant, which is not so of a module's namespace. */
const OWN = Object.freeze({ ...own });

const requireHere = createRequire(import.meta.url);

/** The name by which filters import this folder. */
export const OWN_NAME = 'sidecore/filter';

/**
 * Runs a bundled module and returns its default export. Synchronous, because a thread that polls settles no promise; each call
 * gives a copy of its own, so that what V8 learns of one device's filter is not mixed with another's. Throws what the module throws.
 */
export function evaluate(text: string, file: string): unknown {
  const module: { exports: { default?: unknown } } = { exports: {} };
  const run = compileFunction(text, ['module', 'exports', 'require'], { filename: file });
  run(module, module.exports, requireFor);
  return module.exports.default;
}

/** All else is in the text. */
function requireFor(name: string): unknown {
  if (name === OWN_NAME) return OWN;
  if (isBuiltin(name)) return requireHere(name);
  throw new Error(`cannot load ${name} here`);
}
