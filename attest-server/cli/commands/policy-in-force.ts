import { policyView } from '../../api/api.ts';
import { policyLabel } from '../../formats/policy-label.ts';
import { printable } from '../../wire/printable.ts';
import type { CliContext } from '../context.ts';
import { type Format, print } from '../output.ts';
import { into } from '../write-file.ts';

export interface ShowPolicyOptions {
  readonly output: Format;
  /** Gets the text byte for byte. */
  readonly file?: string;
}

/** `policy show`: the policy in force, as its file has it; a comment in front says its name and revision. */
export async function showPolicy(
  { io, server }: CliContext,
  { output: format, file }: ShowPolicyOptions,
): Promise<void> {
  const policy = await (await server()).get('/v1/policy', policyView);
  const { name, revision, text } = policy;
  if (file !== undefined) return into(file, io).out(text);
  await print(io, format, policy, () =>
    format === 'name'
      ? `${printable(policyLabel({ name, revision }))}\n`
      : `# in force: ${printable(policyLabel({ name, revision }))}\n${text.split('\n').map(printable).join('\n')}`,
  );
}
