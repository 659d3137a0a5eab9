import { setFlagsFromString } from 'node:v8';

/**
 * Has V8 collect garbage once a quarter of what is alive was added: by itself it lets a heap of a hundred MiB double first, and what
 * waits outside the heap with it. `NODE_OPTIONS` does not take this flag.
 */
export function keepHeapSmall(): void {
  setFlagsFromString('--heap-growing-percent=25');
}
