import { resolveAnswer, rotateAnswer } from '../../api/audit-pages.ts';
import type { CliContext } from '../context.ts';

/** `audit rotate-key`: the old key signs the new one. */
export async function rotateAuditKey({ io, server }: CliContext): Promise<void> {
  const { keyId } = await (await server()).post('/v1/audit/keys', {}, rotateAnswer);
  io.out(`the audit log is signed by the key ${keyId} from now on; back up audit.key of the state folder\n`);
}

/** `audit resolve --reason R`: a person knows why the log is another one than was signed. */
export async function resolveRollback({ io, server }: CliContext, reason: string): Promise<void> {
  const { wasReported } = await (await server()).post('/v1/audit/resolve', { reason }, resolveAnswer);
  io.out(
    wasReported
      ? 'resolved: the reason and the first proof are in the audit log\n'
      : 'there was nothing to resolve; the reason is in the audit log\n',
  );
}
