import type { Lookup } from '../lookup.ts';
import { cloudProgram, runLookup, urlIn } from '../program.ts';
import { readSecretFile } from '../secret-file.ts';
import { parseGceMachine } from './machine.ts';
import { metadataServer, readAccessToken, readOwnProject } from './metadata.ts';
import { computeApi, readShieldedIdentity } from './shielded-identity.ts';

interface Flags {
  readonly project?: readonly string[];
  readonly tokenFile?: string;
  readonly endpoint: URL;
  readonly metadata: URL;
}

const program = cloudProgram(
  'assay-cloud-gce',
  'Prints the endorsement key of a Google Compute Engine machine’s vTPM, by its Shielded VM identity.',
)
  .option(
    '--project <id>',
    'machines of this project alone, or of several where it is given several times (ASSAY_CLOUD_GCE_PROJECTS, with commas); default: the project that this runs in',
    (id: string, before: readonly string[] = []) => [...before, id],
  )
  .option(
    '--token-file <file>',
    'an OAuth access token (ASSAY_CLOUD_GCE_TOKEN_FILE); default: that of the metadata server',
  )
  .option('--endpoint <url>', 'the Compute Engine API', urlIn, computeApi)
  .option('--metadata <url>', 'the metadata server', urlIn, metadataServer);

program.parse();
await runLookup(program, lookUp);

async function lookUp(providerId: string, signal: AbortSignal): Promise<Lookup> {
  const machine = parseGceMachine(providerId);
  if (machine === null) return { notKnown: 'not a machine of Compute Engine: gce://PROJECT/ZONE/NAME' };
  const flags = program.opts<Flags>();
  const listed = flags.project ?? process.env.ASSAY_CLOUD_GCE_PROJECTS?.split(',').filter(Boolean) ?? [];
  const projects = listed.length > 0 ? listed : [await readOwnProject(flags.metadata, signal)];
  // Attack: a Node names a machine of a project that an attacker owns.
  if (!projects.includes(machine.project))
    return { notKnown: `the project ${machine.project} is none of ${projects.join(', ')}` };
  const tokenFile = flags.tokenFile ?? (process.env.ASSAY_CLOUD_GCE_TOKEN_FILE || undefined);
  const token =
    tokenFile === undefined ? await readAccessToken(flags.metadata, signal) : await readSecretFile(tokenFile);
  return readShieldedIdentity(flags.endpoint, machine, token, signal);
}
