import { type Reference, reference } from '../../formats/reference.ts';
import { judgedStage, scopeOf } from '../../policy/boot/judged-stage.ts';
import { defaultScope } from '../../policy/boot/rules.ts';

/** A component of a reference, before its scope is written down. */
export type ReferenceComponent = Omit<Reference['components'][number], 'scope'>;

/** A reference of kind `boot` that nobody captured: it says what is measured, and no PCR by its value. */
export function bootReference(
  about: Pick<Reference, 'name' | 'group' | 'state'>,
  components: readonly ReferenceComponent[],
): Reference {
  return reference.parse({
    ...about,
    version: 1,
    expires: null,
    pcrs: {},
    components: components.map((component) => ({ ...component, scope: scopeName(component) })),
  });
}

/** As the shipped policies have it; what counts is the policy in force. */
function scopeName({ stage, pcr }: ReferenceComponent): string {
  return stage === 'cmdline' ? defaultScope.cmdline : scopeOf(judgedStage(stage, pcr ?? null), defaultScope);
}
