import { efiVariable } from '../tpm/efi-structures.ts';
import { type EventData, eventData } from '../tpm/event-data.ts';
import { eventDigests } from '../tpm/event-log.ts';
import type { Stage } from '../tpm/event-stage.ts';
import { eventStages, type StagedEvent, stubTags } from '../tpm/event-stage.ts';
import { eventType, eventTypeName } from '../tpm/event-types.ts';
import { byteText, utf16Text } from '../tpm/shown-text.ts';
import { type BootComponent, type ComponentKind, isLoaderFile } from './boot-state.ts';
import { type CommandLine, type FindLoadOptions, loadOptionsAmong } from './command-lines.ts';
import { isTextOfSystem } from './consistency.ts';
import { type DigestExplanation, explainer, type FileSet } from './loader-files.ts';
import { loaderText } from './loader-text.ts';
import { type Boundaries, isSeparator } from './separators.ts';
import { shimsOwn } from './shim-variables.ts';
import { isSectionName, unifiedPcr } from './unified-image.ts';
import { dataOf, isVouched, type VouchedLog } from './vouched-log.ts';

/** Tags of what Linux's EFI stub and systemd-boot measure, as the log names them. */
const tags = { ...stubTags, loaderConfiguration: 0xf5bc582a } as const;

const environmentFile = /(?:^|[/\\])grubenv$/;
/** Commands of GRUB's that name the boot entry that its environment names. */
const chosenEntry = /^(?:set (?:default|saved_entry|next_entry|chosen|prev_saved_entry)=)(.{1,256})$/;
const mostEntries = 3;

const configurationFile = /(?:\.(?:cfg|conf)|grubenv|grub\.cfg-[^/\\]*)$/i;

const kindOfType: ReadonlyMap<number, ComponentKind> = new Map<number, ComponentKind>([
  [eventType.application, 'code'],
  [eventType.bootDriver, 'code'],
  [eventType.runtimeDriver, 'code'],
  [eventType.firmwareBlob, 'code'],
  [eventType.firmwareBlob2, 'code'],
  [eventType.crtmContents, 'code'],
  [eventType.postCode, 'code'],
  [eventType.postCode2, 'code'],
  [eventType.microcode, 'code'],
  [eventType.hcrtm, 'code'],
  [eventType.variableDriverConfig, 'variable'],
  [eventType.variableBoot, 'variable'],
  [eventType.variableBoot2, 'variable'],
]);

/** Every event of the PCRs that replay: what it is, as far as its digest proves it. */
export function bootComponents(
  vouched: VouchedLog,
  boundaries: Boundaries,
  lines: readonly CommandLine[],
  files: FileSet,
): readonly Component[] {
  const { raw } = vouched.log;
  const components: Component[] = [];
  const explain = explainer(files, () => chosenEntries(components));
  const staged: StagedEvent[] = [];
  for (let event = 0; event < raw.count; event++) staged.push(stagedEvent(vouched, event));
  const stages = eventStages(staged);
  const loadOptions = loadOptionsAmong(vouched, lines);
  const { bootServicesLeft } = boundaries;
  for (let event = 0; event < raw.count; event++)
    if (isVouched(vouched, event)) {
      const { type, data } = staged[event]!;
      const what = whatItIs(vouched, event, data, boundaries, loadOptions);
      const text = vouched.loaderTexts[event];
      const isLate = bootServicesLeft !== null && event > bootServicesLeft && isTextOfSystem(vouched, event);
      const stage = isLate ? 'os' : text ? stageOfText[text.kind] : (stages[event] ?? 'other');
      components.push(new Component(vouched, event, type, stage, what, explain));
    }
  return components;
}

function chosenEntries(components: readonly BootComponent[]): readonly string[] {
  const found = new Set<string>();
  for (const { pcr, text } of components) {
    const entry = pcr === 8 && text !== null ? chosenEntry.exec(text)?.[1] : undefined;
    if (entry !== undefined && found.size < mostEntries) found.add(entry);
  }
  return [...found];
}

/** Types whose stage depends on what the data says; of all others it costs nothing to know no more. */
const describing: ReadonlySet<number> = new Set<number>([
  eventType.ipl,
  eventType.eventTag,
  eventType.application,
  eventType.bootDriver,
  eventType.runtimeDriver,
]);
const undescribed: EventData = { kind: 'plain', describes: '' };
const stageOfText = { command: 'loader', cmdline: 'cmdline' } as const;

function stagedEvent(vouched: VouchedLog, event: number): StagedEvent {
  const { raw } = vouched.log;
  const number = raw.types[event]!;
  const type = eventTypeName(number);
  const described = describing.has(number) && loaderText(vouched, event) === null;
  const data = described ? eventData(type, dataOf(vouched, event)) : undescribed;
  return { pcr: raw.pcrs[event]!, type, data };
}

interface ComponentSubject {
  readonly kind: ComponentKind;
  readonly text: string | null;
}

function whatItIs(
  vouched: VouchedLog,
  event: number,
  data: EventData,
  { bootServicesLeft }: Boundaries,
  loadOptions: FindLoadOptions,
): ComponentSubject {
  const { raw } = vouched.log;
  const type = raw.types[event]!;
  if (isSeparator(vouched, event)) return only('marker');
  switch (type) {
    case eventType.action:
    case eventType.legacyAction:
      return action(vouched, event);
    case eventType.crtmVersion:
      return { kind: 'other', text: measuredText(vouched, event) };
    case eventType.variableAuthority:
      return only(shimsOwn.has(efiVariable(dataOf(vouched, event))?.name ?? '') ? 'variable' : 'authority');
    case eventType.compactHash:
      return { kind: 'other', text: machineUuid(vouched, event) };
    case eventType.eventTag:
    case eventType.ipl:
      break;
    default:
      return only(kindOf(vouched, event, type));
  }
  // The system itself could have written it: it is shown, and no fact.
  if (bootServicesLeft !== null && event > bootServicesLeft) return only('other');
  if (data.kind === 'tag') return tagged(data.tag, event, loadOptions);
  return loaderText(vouched, event) ?? only(loaderKind(vouched, event, data));
}

/** A variable of which neither the whole nor the value was measured could be anything. */
function kindOf({ measured }: VouchedLog, event: number, type: number): ComponentKind {
  const kind = kindOfType.get(type) ?? 'other';
  return kind === 'variable' && measured[event] === null ? 'other' : kind;
}

/** In PCR 7 an action says how the machine is protected; elsewhere it only tells how far the boot has come. */
function action(vouched: VouchedLog, event: number): ComponentSubject {
  const tells = isSentence(vouched.measured[event]) && vouched.log.raw.pcrs[event] !== 7;
  return { kind: tells ? 'marker' : 'other', text: measuredText(vouched, event) };
}

/** Attack: code of printable bytes, as a boot sector can be, that the log calls an action. The longest has 80 letters. */
function isSentence(measured: Buffer | null | undefined): boolean {
  if (!measured || measured.length > 128) return false;
  return isWakeEvent(measured) || /^(?:[ -~]\0?)+\0*$/.test(measured.toString('latin1'));
}

/** Some firmware ends what woke the machine with the number as a byte. SMBIOS 3.7, section 7.2.2. */
function isWakeEvent(measured: Buffer): boolean {
  return measured.length === 12 && measured.toString('latin1', 0, 11) === 'Wake Event ' && measured[11]! < 16;
}

/** As Hyper-V's firmware, and so each machine of Azure, measures it. Nothing else may stand beside it. */
function machineUuid({ log, measured }: VouchedLog, event: number): string | null {
  const bytes = log.raw.pcrs[event] === 6 ? measured[event] : null;
  const text = bytes?.length === 42 ? bytes.toString('latin1') : '';
  return /^UUID: [\dA-F]{8}(?:-[\dA-F]{4}){3}-[\dA-F]{12}$/.test(text) ? text : null;
}

function tagged(tag: number, event: number, loadOptions: FindLoadOptions): ComponentSubject {
  switch (tag) {
    case tags.initrd:
      return only('file');
    case tags.loadOptions:
      return { kind: 'cmdline', text: loadOptions(event) };
    case tags.loaderConfiguration:
      return only('configuration');
    default:
      return only('other');
  }
}

/** The kind of an event for which a loader gives a name that it does not measure. */
function loaderKind(vouched: VouchedLog, event: number, data: EventData): ComponentKind {
  const pcr = vouched.log.raw.pcrs[event];
  if (pcr === unifiedPcr && isSectionName(vouched, event)) return 'marker';
  if (pcr === 14) return 'variable';
  if (data.kind !== 'text') return 'other';
  return configurationFile.test(data.text) ? 'configuration' : 'file';
}

function measuredText(vouched: VouchedLog, event: number): string | null {
  const measured = vouched.measured[event];
  if (!measured) return null;
  return utf16Text(measured) ?? byteText(measured);
}

function only(kind: ComponentKind): ComponentSubject {
  return { kind, text: null };
}

/** Its digests and description are made when first asked for: most events are never told of. */
export class Component implements BootComponent {
  readonly event: number;
  readonly pcr: number;
  readonly type: string;
  readonly stage: Stage;
  readonly kind: ComponentKind;
  readonly text: string | null;
  readonly #vouched: VouchedLog;
  readonly #explain: ReturnType<typeof explainer>;
  #digests: BootComponent['digests'] | undefined;
  #explained: DigestExplanation | null | undefined;

  constructor(
    vouched: VouchedLog,
    event: number,
    type: string,
    stage: Stage,
    { kind, text }: ComponentSubject,
    explain: ReturnType<typeof explainer>,
  ) {
    this.event = event;
    this.pcr = vouched.log.raw.pcrs[event]!;
    this.type = type;
    this.stage = stage;
    this.kind = kind;
    this.text = text;
    this.#vouched = vouched;
    this.#explain = explain;
  }

  get digests(): BootComponent['digests'] {
    // Those of other banks are the log's word.
    this.#digests ??= eventDigests(this.#vouched.log, this.event, this.#vouched.banks);
    return this.#digests;
  }

  /** Why it is known what the file is; null if it is not, and for what is no such file. */
  get explained(): DigestExplanation | null {
    if (this.#explained === undefined)
      this.#explained = isLoaderFile(this)
        ? this.#explain(this.digests, environmentFile.test(this.describes))
        : null;
    return this.#explained;
  }

  get content(): BootComponent['content'] {
    return this.explained?.content ?? null;
  }

  get describes(): string {
    return eventData(this.type, dataOf(this.#vouched, this.event)).describes;
  }
}
