import type { DeleteOptions } from './delete-options.ts';
import { at, type KubeObject, textAt, textsAt } from './json.ts';
import type { ResourceType } from './resource-type.ts';

/** Their deletion is answered with the object as it was last, and not with a Status. */
const returned: readonly string[] = ['pods', 'serviceaccounts', 'services', 'resourcequotas'];

export function returnsDeleted({ group, plural }: ResourceType): boolean {
  return group === '' && returned.includes(plural);
}

/** What it waits for once it is deleted. */
export interface DeletionWait {
  readonly finalizers: readonly string[];
  /** Seconds. */
  readonly grace: number;
  /** It waits for nothing, and goes at once. */
  readonly isOver: boolean;
  /** Something of this changes what an earlier deletion said. */
  readonly isNews: boolean;
}

export function deletionWait(
  { group, plural }: ResourceType,
  object: KubeObject,
  options: DeleteOptions,
): DeletionWait {
  const { finalizers: its = [], deletionTimestamp } = object.metadata;
  const finalizers = [...new Set([...its, ...options.finalizers])];
  const isFinal = plural === 'namespaces' && group === '' && textsAt(object, 'spec', 'finalizers').length > 0;
  const grace = plural === 'pods' && group === '' ? graceOfPod(object, options.grace) : 0;
  const before = at(object, 'metadata', 'deletionGracePeriodSeconds');
  return {
    finalizers,
    grace,
    isOver: finalizers.length === 0 && !isFinal && grace === 0,
    isNews:
      deletionTimestamp === undefined ||
      finalizers.length > its.length ||
      (typeof before === 'number' && grace < before),
  };
}

/** A kubelet ends what runs: only a pod that has a node, and is not over, waits for it. */
function graceOfPod(pod: KubeObject, wanted: number | null): number {
  const phase = textAt(pod, 'status', 'phase');
  if ((textAt(pod, 'spec', 'nodeName') ?? '') === '' || phase === 'Failed' || phase === 'Succeeded') return 0;
  const own =
    at(pod, 'metadata', 'deletionGracePeriodSeconds') ?? at(pod, 'spec', 'terminationGracePeriodSeconds');
  const seconds = wanted ?? (typeof own === 'number' ? own : 30);
  return seconds < 0 ? 1 : seconds;
}
