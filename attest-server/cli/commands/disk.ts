import type { z } from 'zod';
import { listOf } from '../../api/list.ts';
import {
  type VolumeView,
  volumeEscrow,
  volumeMade,
  volumeName,
  volumePath,
  volumeRemoved,
  volumeView,
} from '../../api/volume-api.ts';
import { printable } from '../../wire/printable.ts';
import type { Client } from '../client.ts';
import { type Consent, questions } from '../confirm.ts';
import type { CliContext } from '../context.ts';
import { CliError, exit } from '../exit.ts';
import { relative, tableTime } from '../moment.ts';
import { type Format, print } from '../output.ts';
import { shownDigits } from '../readable.ts';
import { table } from '../table.ts';
import { into } from '../write-file.ts';

export interface InitOptions {
  readonly volume: string;
  readonly path: string;
  readonly output: Format;
}

/** `disk init NODE --volume NAME --path PATH`. */
export async function initVolume(
  { io, server }: CliContext,
  node: string,
  { volume: name, path, output: format }: InitOptions,
): Promise<void> {
  checkOption('--volume', name, volumeName);
  checkOption('--path', path, volumePath);
  const made = await (await server()).post('/v1/volumes', { node, name, path }, volumeMade);
  await print(io, format, made, () =>
    [`volume ${made.name} of ${made.node}: LUKS UUID ${made.uuid}`, ...made.next.split('\n')]
      .map((line) => `${printable(line)}\n`)
      .join(''),
  );
}

export interface DiskListOptions {
  readonly output: Format;
  readonly utc?: boolean;
}

const columns = ['NODE', 'VOLUME', 'PATH', 'STATE', 'RELEASED', 'UNLOCKED'] as const;
const wideColumns = ['REFUSED', 'UUID', 'EK', 'HEADER', 'BY', 'AGE'] as const;

/** `disk list [NODE]`. RELEASED: when a boot last got its key. UNLOCKED: when its node last said that it is open. */
export async function listVolumes(
  { io, server }: CliContext,
  node: string | undefined,
  { output: format, utc: absolute = false }: DiskListOptions,
): Promise<void> {
  const items = await readVolumes(await server(), node);
  await print(io, format, { items, next: null }, () => {
    if (format === 'name')
      return items.map((item) => `${printable(item.node)} ${printable(item.name)}\n`).join('');
    const isWide = format === 'wide';
    const time = (moment: string | null) => tableTime(moment, io.now(), absolute);
    return table(
      isWide ? [...columns, ...wideColumns] : columns,
      items.map((item) => [
        ...[item.node, item.name, item.path, stateOf(item), time(item.releasedAt), time(item.unlockedAt)],
        ...(isWide
          ? [
              item.refused === null ? '-' : `${item.refused.code} ${time(item.refused.at)}`,
              item.uuid,
              item.ek,
              item.header?.slice(0, shownDigits) ?? '-',
              item.createdBy,
              time(item.createdAt),
            ]
          : []),
      ]),
    );
  });
}

/** `disk remove NODE VOLUME`. */
export async function removeVolume(
  { io, server }: CliContext,
  node: string,
  volume: string,
  consent: Consent,
): Promise<void> {
  const ask = questions(io, consent);
  const client = await server();
  const found = await findVolume(client, node, volume);
  const text = removalText(found, io.now());
  if (consent.dryRun === true) return io.out(text);
  io.err(text);
  await ask(`Remove ${named(found)}?`);
  const path = `/v1/volumes/${encodeURIComponent(found.uuid)}`;
  const { removed } = await client.delete(path, volumeRemoved);
  io.out(`${named(found)} removed: the server no longer has the key of ${printable(removed)}\n`);
}

export interface EscrowOptions {
  readonly file?: string;
  readonly header?: string;
}

/** `disk escrow NODE VOLUME`: the encrypted passphrase alone on standard output, and how to open it on standard error. */
export async function writeEscrow(
  { io, server }: CliContext,
  node: string,
  volume: string,
  { file, header: headerFile }: EscrowOptions,
): Promise<void> {
  const client = await server();
  const found = await findVolume(client, node, volume);
  const query = headerFile === undefined ? '' : '?header=true';
  const path = `/v1/volumes/${encodeURIComponent(found.uuid)}/escrow${query}`;
  const { recovery, header = null } = await client.get(path, volumeEscrow);
  if (headerFile !== undefined) {
    if (header === null)
      throw new CliError(
        `the server has no header of ${named(found)}: its node has not formatted it`,
        `Leave out --header, or see when it is formatted:\n  assay disk list ${printable(found.node)}`,
      );
    into(headerFile, io).out(header);
  }
  into(file, io).out(recovery.endsWith('\n') ? recovery : `${recovery}\n`);
  io.err(
    [
      'Whoever has a recovery identity of the policy (keys.recoveryRecipients) reads the passphrase:',
      `  age --decrypt -i KEY ${file ?? 'FILE'}`,
      ...(headerFile === undefined
        ? []
        : ['and the header:', `  age --decrypt -i KEY -o header.img ${headerFile}`]),
    ]
      .map((line) => `${line}\n`)
      .join(''),
  );
}

async function readVolumes(client: Client, node?: string): Promise<readonly VolumeView[]> {
  const query = node === undefined ? '' : `?${new URLSearchParams({ node })}`;
  return (await client.get(`/v1/volumes${query}`, listOf(volumeView))).items;
}

/** @param volume its name, or its LUKS UUID @throws CliError if there is none, or several have that name */
async function findVolume(client: Client, node: string, volume: string): Promise<VolumeView> {
  const ofNode = await readVolumes(client, node);
  const [found, ...more] = ofNode.filter(({ name, uuid }) => name === volume || uuid === volume);
  if (found === undefined)
    throw new CliError(
      `not found: ${printable(node)} has no volume ${printable(volume)}`,
      `See which there are:\n  assay disk list ${printable(node)}`,
    );
  if (more.length > 0)
    throw new CliError(
      `${printable(node)} has ${more.length + 1} volumes ${printable(volume)}, of different TPMs`,
      `Name the one that is meant by its UUID:\n  assay disk list ${printable(node)} -o wide`,
    );
  return found;
}

function stateOf({ enrolled, formattedAt }: VolumeView): string {
  if (enrolled) return formattedAt === null ? 'to be formatted' : 'formatted';
  return formattedAt === null ? 'of another TPM' : 'formatted, of another TPM';
}

function removalText(volume: VolumeView, now: number): string {
  const { node, name, path, uuid, formattedAt } = volume;
  const what = `${named(volume)} (${printable(path)}, LUKS UUID ${printable(uuid)})`;
  if (formattedAt === null)
    return `${what} is not formatted yet: its node can no longer format it once it is removed\n`;
  const [of, file] = [`${node} ${name}`, `${node}-${name}`].map(printable);
  return [
    `${what} was formatted ${relative(formattedAt, now)}`,
    'once it is removed, its node gets no key, and the escrow of this server is gone: from then on only the recovery passphrase opens the disk. Keep that first:',
    `  assay disk escrow ${of} -f ${file}.age --header ${file}-header.age`,
    'Backups of the database that were made before still have the key, wrapped by the wrapping key.',
    'Its node goes on being compared with the header. If the disk is out of use, end that, too:',
    `  assay reference retire disk-${printable(uuid)} --reason "out of use"`,
  ]
    .map((line) => `${line}\n`)
    .join('');
}

function named({ node, name }: VolumeView): string {
  return `volume ${printable(name)} of ${printable(node)}`;
}

/** @throws CliError (usage) */
function checkOption(option: string, given: string, schema: z.ZodType): void {
  const issue = schema.safeParse(given).error?.issues[0];
  if (issue !== undefined) throw new CliError(`${option} ${given}: ${issue.message}`, null, exit.usage);
}
