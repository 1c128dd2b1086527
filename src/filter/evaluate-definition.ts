import type { BlockFilter } from './contract.js';
import { evaluate } from './evaluate.js';
import type { BuiltIns } from './load.js';
import type { FilterModule } from './spec.js';

/** A filter's definition, on any thread. Throws what its module throws. */
export function definitionOf(module: FilterModule, builtIns: BuiltIns): BlockFilter {
  return module.kind === 'built-in' ? builtIns[module.name]! : (evaluate(module.text, module.file) as BlockFilter);
}
