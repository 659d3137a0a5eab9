import type { Past } from './aspect.ts';

/** Aspects that kept it by themselves, each in its own memory: databases and bundles until 0.3.0. */
const keepers = ['runtime', 'disk', 'firewall', 'host'] as const;

/**
 * Findings that stood against a node as its aspects remembered them until 0.3.0, in any form; and the memory without them.
 * Null if nothing is in that form.
 */
export function earlierAgainst(
  memory: Past['memory'],
): { readonly against: ReadonlyMap<string, unknown>; readonly memory: Past['memory'] } | null {
  if (!hasEarlier(memory)) return null;
  const against = new Map<string, unknown>();
  const others = { ...memory };
  for (const name of keepers) {
    const own = memory[name];
    if (!isEarlier(own)) continue;
    const { against: found, ...rest } = 'against' in own ? own : { against: own };
    against.set(name, found);
    if (Object.keys(rest).length === 0) delete others[name];
    else others[name] = rest;
  }
  return { against, memory: others };
}

function hasEarlier(memory: Past['memory']): boolean {
  for (const name of keepers) if (isEarlier(memory[name])) return true;
  return false;
}

/** All that `host` remembered were findings. */
function isEarlier(own: unknown): own is readonly unknown[] | { readonly against: unknown } {
  return typeof own === 'object' && own !== null && (Array.isArray(own) || 'against' in own);
}
