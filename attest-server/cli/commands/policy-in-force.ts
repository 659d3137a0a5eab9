import { policyView } from '../../protocol/api.ts';
import { policyLabel } from '../../protocol/policy-label.ts';
import { printable } from '../../protocol/printable.ts';
import type { CliContext } from '../context.ts';
import { type Format, print } from '../output.ts';

/** `policy show`: the policy in force, as its file has it; a comment in front says its name and revision. */
export async function showPolicy({ io, server }: CliContext, format: Format): Promise<void> {
  const policy = await (await server()).get('/v1/policy', policyView);
  const { name, revision, text } = policy;
  await print(io, format, policy, () =>
    format === 'name'
      ? `${printable(policyLabel({ name, revision }))}\n`
      : `# in force: ${printable(policyLabel({ name, revision }))}\n${text.split('\n').map(printable).join('\n')}`,
  );
}
