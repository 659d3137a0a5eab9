import { type FileContent, filePcr } from '../../wire/loader-files.ts';
import type { PcrBank } from '../../wire/messages.ts';
import type { Stage } from '../tpm/event-stage.ts';
import type { LogNote } from '../tpm/log-notes.ts';
import type { SignatureEntry } from '../tpm/signature-list.ts';
import type { BootProblem } from './boot-problem.ts';

/**
 * A boot, as far as the TPM vouches for it: built only from events of PCRs that replay onto the quote, and from event data
 * only if the event's digest was recomputed from it in every quoted bank.
 */
export interface BootState {
  /** Every event that extends a PCR which replays, in the log's order. */
  readonly components: readonly BootComponent[];
  readonly secureBoot: SecureBootState;
  /** Each command line that was measured for a kernel, its arguments as text; empty if none is vouched for. */
  readonly commandLines: readonly VouchedText[];
  /** EV_S_CRTM_VERSION, where it is text and vouched for. */
  readonly firmwareVersion: VouchedText | null;
  /** Problems of the log with itself: `separator_error`, `event_data_mismatch`, `unverified_event`, … */
  readonly problems: readonly BootProblem[];
  /** Inconsistent or unusual things in the log that mislead no fact; in its order. */
  readonly notes: readonly LogNote[];
  /** Files that its loader read, of which nobody knows what they are, or that are nothing that a loader reads. */
  readonly unexplained: readonly BootComponent[];
  /** SHA-256, hex, of the files that were sent and say what others are. */
  readonly explaining: readonly string[];
}

/**
 * The kind of an event, as far as its digest proves it. Type, stage and file name are the log's word: a digest that was
 * recomputed proves text; any other one proves the thing hashed, whatever the log calls it.
 */
export type ComponentKind =
  /** A PE image, by its Authenticode digest, or a firmware blob. */
  | 'code'
  /** A file that a loader read, by the digest of its content. */
  | 'file'
  /** A loader's configuration file, by the digest of its content; what it does is measured as commands. */
  | 'configuration'
  /** A command of a boot loader; text. */
  | 'command'
  /** A kernel's command line; text. */
  | 'cmdline'
  /** An EFI variable. */
  | 'variable'
  /** A certificate or digest that allowed an image to run. */
  | 'authority'
  /** A separator or a constant action of the firmware: recomputed, and no code. */
  | 'marker'
  /** No event: a PCR as a whole, where a policy compares it so. */
  | 'value'
  | 'other';

export interface BootComponent {
  /** Index of the event in the log. */
  readonly event: number;
  readonly pcr: number;
  readonly type: string;
  readonly stage: Stage;
  readonly kind: ComponentKind;
  readonly digests: Readonly<Partial<Record<PcrBank, string>>>;
  /** The measured text; null if the digest is not that of a text in the log. */
  readonly text: string | null;
  /** The kind of the file by its bytes, which have this digest; null if nobody knows them, and for what is no such file. */
  readonly content: FileContent | null;
  /** The log's word for a person; never judged. */
  readonly describes: string;
}

/** A file that a loader read besides the kernel and its initrd: GRUB measures each of them into PCR 9. */
export function isLoaderFile({ pcr, kind, stage }: Pick<BootComponent, 'pcr' | 'kind' | 'stage'>): boolean {
  return (
    pcr === filePcr &&
    (kind === 'configuration' || (kind === 'file' && stage !== 'kernel' && stage !== 'initrd'))
  );
}

export interface VouchedText {
  readonly event: number;
  readonly text: string;
}

export interface SecureBootState {
  /** Null: no vouched event before the separator of PCR 7 says it. */
  readonly enabled: boolean | null;
  /** The event that says so. */
  readonly event: number | null;
  /** PK, KEK, db, dbx and what else of them is vouched for. */
  readonly databases: readonly SignatureDatabase[];
  /** The authorities that allowed each image to run: measured after the separator of PCR 7, in order. */
  readonly authorities: readonly Authority[];
  /** MokList, MokListX, MokListTrusted, MokSBState as shim measured them into PCR 14 and 7. */
  readonly machineOwner: readonly MachineOwnerVariable[];
  /** The date of shim's SbatLevel, as 2023012900; null if none is vouched for. */
  readonly sbatLevel: number | null;
  /** The events that say it. */
  readonly sbatEvents: readonly number[];
  /** shim's own validation was turned off (MokSBState). */
  readonly validationOff: boolean;
}

/**
 * A variable of shim's. PCR 14 holds the digest of its value, which is not in the log: its name is then the log's
 * word, and its content known only where a likely one gives that digest.
 */
export interface MachineOwnerVariable {
  readonly event: number;
  readonly name: string;
  /**
   * `empty`: no entry; `vendor`: the vendor's certificate in shim and no other entry; `listed`: as in `entries`;
   * `on`, `off`: a switch; `unknown`: only the digest is known, which a reference can be compared with.
   */
  readonly content: 'empty' | 'vendor' | 'listed' | 'on' | 'off' | 'unknown';
  readonly entries: readonly SignatureEntry[];
}

/** An EFI signature database. UEFI 2.10, section 32.4.1. */
export interface SignatureDatabase {
  readonly event: number;
  readonly name: string;
  readonly entries: readonly SignatureEntry[];
}

export interface Authority extends SignatureEntry {
  readonly event: number;
  /** The list that holds it: db, MokList, Shim, vendor_cert, … as measured. */
  readonly source: string;
}
