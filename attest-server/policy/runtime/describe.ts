import type { Reference } from '../../formats/reference.ts';

/** The lines of such a reference: how many files it has, which are too many to be lines, and each other thing. */
export function describeRuntime({ runtime }: Reference): readonly string[] {
  if (runtime === undefined) return [];
  return [
    `${runtime.count} files`,
    ...(runtime.policies ?? []).map(
      ({ digest, covers, description }) =>
        `IMA policy ${digest} covers ${covers.join(', ') || 'nothing'} (${description})`,
    ),
    ...(runtime.keyrings ?? []).map(
      ({ keyring, digest, description }) => `${keyring} ${digest} (${description})`,
    ),
  ];
}
