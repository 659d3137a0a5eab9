import { whoamiView } from '../../api/server-api.ts';
import type { CliContext } from '../context.ts';
import { relative, utc } from '../moment.ts';
import { type Format, print } from '../output.ts';
import { fields } from '../table.ts';

/** `whoami`: whose token this is, what it may do, and until when. */
export async function showCaller({ io, server }: CliContext, format: Format): Promise<void> {
  const client = await server();
  const caller = await client.get('/v1/whoami', whoamiView);
  const { name, role, expiresAt } = caller;
  await print(io, format, { ...caller, server: client.server.origin }, () =>
    fields([
      ['Name', name],
      ['Role', `${role}: ${mayOf[role]}`],
      [
        'Until',
        expiresAt === null ? 'it is revoked' : `${utc(expiresAt)} (${relative(expiresAt, io.now())})`,
      ],
      ['Server', client.server.origin],
    ]),
  );
}

const mayOf = {
  reader: 'may read all but tokens',
  operator: 'may also change references, try policies, and decide on enrolment',
  admin: 'may do everything',
} as const;
