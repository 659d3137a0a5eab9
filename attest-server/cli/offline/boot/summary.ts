import type {
  BootComponent,
  BootState,
  SecureBootState,
  SignatureDatabase,
} from '../../../verify/boot/boot-state.ts';
import type { MeasuredBoot } from '../../../verify/measured-boot.ts';

/** The member `boot` of what `assay verify -o json` prints: what the quote and the log say of the boot. */
export interface BootSummary {
  /** SHA-256 of the log, hex. */
  readonly digest: string;
  readonly format: string;
  readonly events: number;
  readonly problems: MeasuredBoot['problems'];
  /** Inconsistent or unusual things that mislead no fact. */
  readonly notes: BootState['notes'];
  /** All that follows is vouched for by the quote; null, or absent from its list, is what is not. */
  readonly firmwareVersion: string | null;
  readonly secureBoot: SecureBootSummary;
  readonly commandLines: readonly string[];
  /** Boot loaders, kernels and initrds: what was run or read, in the log's order. */
  readonly images: readonly ImageSummary[];
}

export interface SecureBootSummary extends Pick<SecureBootState, 'enabled' | 'sbatLevel' | 'validationOff'> {
  /** PK, KEK, db, dbx: their certificates, and how many digests they list. */
  readonly databases: readonly {
    readonly name: string;
    readonly certificates: readonly { readonly digest: string; readonly subject: string | null }[];
    readonly digests: number;
  }[];
  /** The authorities that allowed each image to run, in order. */
  readonly authorities: readonly {
    readonly source: string;
    readonly kind: string;
    readonly digest: string;
    readonly subject: string | null;
  }[];
  readonly machineOwner: readonly { readonly name: string; readonly content: string }[];
}

/** `describes` is what the log says; stage and digest are vouched for. */
export type ImageSummary = Pick<BootComponent, 'event' | 'pcr' | 'stage' | 'digests' | 'describes'>;

export function bootSummary({ digest, log, problems, state }: MeasuredBoot): BootSummary {
  return {
    digest,
    format: log.format,
    events: log.events.length,
    problems,
    notes: state.notes,
    firmwareVersion: state.firmwareVersion?.text ?? null,
    secureBoot: secureBootSummary(state.secureBoot),
    commandLines: state.commandLines.map(({ text }) => text),
    images: imagesOf(state),
  };
}

function secureBootSummary(state: SecureBootState): SecureBootSummary {
  const { enabled, sbatLevel, validationOff, databases, authorities, machineOwner } = state;
  return {
    enabled,
    sbatLevel,
    validationOff,
    databases: databases.map(databaseSummary),
    authorities: authorities.map(({ source, kind, digest, subject }) => ({ source, kind, digest, subject })),
    machineOwner: machineOwner.map(({ name, content }) => ({ name, content })),
  };
}

function databaseSummary({ name, entries }: SignatureDatabase): SecureBootSummary['databases'][number] {
  return {
    name,
    certificates: entries
      .filter(({ kind }) => kind === 'certificate')
      .map(({ digest, subject }) => ({ digest, subject })),
    digests: entries.filter(({ kind }) => kind === 'digest').length,
  };
}

const shown: ReadonlySet<string> = new Set(['loader', 'kernel', 'initrd']);

function imagesOf({ components }: BootState): readonly ImageSummary[] {
  return components
    .filter(({ stage, kind }) => shown.has(stage) && (kind === 'code' || kind === 'file'))
    .map(({ event, pcr, stage, digests, describes }) => ({ event, pcr, stage, digests, describes }));
}
