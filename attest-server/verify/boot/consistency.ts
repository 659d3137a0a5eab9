import { imagePath, variableValue } from '../tpm/efi-structures.ts';
import { eventType, eventTypeName } from '../tpm/event-types.ts';
import { lacksDigest, machineOwnerPcr } from '../tpm/event-verified.ts';
import { grubPrefix } from '../tpm/grub-text.ts';
import type { ProblemCollector } from './boot-problem.ts';
import type { SecureBootState } from './boot-state.ts';
import { wholeVariable } from './secure-boot-state.ts';
import type { Boundaries } from './separators.ts';
import { isVouched, problemAt, type VouchedLog } from './vouched-log.ts';

/** Types whose digest is of their data, by the specification. PC Client PFP 1.06, section 10.4.1. */
const ofData: ReadonlySet<number> = new Set<number>([
  eventType.crtmVersion,
  eventType.legacyAction,
  eventType.action,
  eventType.gpt,
  eventType.variableDriverConfig,
  eventType.variableBoot,
  eventType.variableBoot2,
  eventType.variableAuthority,
]);
const variables: ReadonlySet<number> = new Set<number>([
  eventType.variableDriverConfig,
  eventType.variableAuthority,
  eventType.spdmDevicePolicy,
  eventType.spdmDeviceAuthority,
]);
/** PCRs of boot facts: what is written there once the firmware is gone was written by the system. */
const factPcrs: ReadonlySet<number> = new Set([0, 2, 4, 6, 7, 8, 9, 11, 12, 13, 14]);

/**
 * Finds events that contradict themselves. Attacks: data altered, its digest kept; a type rewritten, which no digest
 * covers, so that an event is taken for another, or for none that a rule reads; boot facts added to the log by the
 * system that was booted. Where no fact could come of an event it is noted: many makers measure something else than they log.
 */
export function checkConsistency(
  vouched: VouchedLog,
  { secureBoot, bootServicesLeft }: Boundaries,
  settings: SecureBootState,
  { problems, notes }: ProblemCollector,
): void {
  const { raw } = vouched.log;
  const opening = openingEvent(vouched, settings);
  const unnamed: number[] = [];
  let hasSettings = false;
  for (let event = 0; event < raw.count; event++) {
    if (!isVouched(vouched, event)) continue;
    const pcr = raw.pcrs[event]!;
    if (bootServicesLeft !== null && event > bootServicesLeft && factPcrs.has(pcr)) {
      if (isTextOfSystem(vouched, event)) notes.push({ event, code: 'after_boot', text: ofSystem });
      else problems.push(problemAt(vouched, event, 'unverified_event', late));
    }
    if (event === opening) {
      notes.push({ event, code: 'before_settings', text: beforeSettings });
      continue;
    }
    const type = raw.types[event]!;
    const held = typeOfContent(vouched, event);
    if (held !== type) {
      const expected = held === null ? null : eventTypeName(held);
      const actual = eventTypeName(type);
      const text = `the log was altered: ${actual} is not the type of what it holds`;
      const values = { expected, actual };
      problems.push(problemAt(vouched, event, 'unverified_event', text, values, held ?? type));
    } else if (hasOtherData(vouched, event)) {
      if (isFact(vouched, event)) problems.push(problemAt(vouched, event, 'event_data_mismatch', altered));
      else notes.push({ event, code: 'other_data', text: otherData });
    } else if (pcr === 7 && secureBoot !== null && event < secureBoot) {
      if (isWholeVariable(vouched, event)) hasSettings = true;
      else if (vouched.measured[event] === null)
        problems.push(problemAt(vouched, event, 'unverified_event', noSetting));
      else if (type !== eventType.action) unnamed.push(event);
    }
  }
  // Attack: one variable made the value of another, so that its name is not seen. Where none has a name, none is a fact.
  for (const event of unnamed)
    if (hasSettings || !isVariable(vouched, event))
      problems.push(problemAt(vouched, event, 'unverified_event', noSetting));
    else notes.push({ event, code: 'value_alone', text: valueAlone });
}

const late = 'it was extended after the firmware had left, as only the system can';
const noSetting =
  'before its separator, PCR 7 has only variables, measured whole. This event is not one, so it hides what was measured';
const beforeSettings =
  'it was measured before any setting of Secure Boot, as Boot Guard measures who vouched for the firmware, and is no fact';
const valueAlone = 'only its value was measured, so that nothing vouches for its name, and it is no fact';
const altered = 'the log was altered: its data is not what the TPM was extended with';
const otherData = 'its data is not what the TPM was extended with, and is no fact';
const ofSystem = 'a text that the system measured once the firmware had left, and no fact of the boot';

/**
 * The first event of PCR 7, where it is no fact: firmware measures its settings in one order, beginning with SecureBoot, so that
 * nothing of them can be hidden in front of them all. -1 where there is none such.
 */
function openingEvent({ log: { raw }, counts, measured }: VouchedLog, settings: SecureBootState): number {
  const first = raw.pcrs.subarray(0, raw.count).findIndex((pcr, event) => pcr === 7 && counts[event] === 1);
  const { event: begin, databases } = settings;
  if (first < 0 || measured[first] !== null || begin === null) return -1;
  const whole = keyLists.every((list) => databases.some(({ name }) => name === list));
  return whole && databases.every(({ event }) => event > begin) ? first : -1;
}

const keyLists = ['PK', 'KEK', 'db'] as const;

/** The type that an event must have by its PCR and content: its own, unless it was rewritten; null for none known. */
function typeOfContent(vouched: VouchedLog, event: number): number | null {
  const { raw } = vouched.log;
  const type = raw.types[event]!;
  switch (raw.pcrs[event]) {
    case 4:
      if (isImage(vouched, event)) return eventType.application;
      return type === eventType.application ? null : type;
    case 7:
      return isVariable(vouched, event) && !variables.has(type) ? eventType.variableDriverConfig : type;
    case 8:
      return isGrubLine(vouched, event) ? eventType.ipl : type;
    default:
      return type;
  }
}

function hasOtherData(vouched: VouchedLog, event: number): boolean {
  const { raw } = vouched.log;
  if (vouched.measured[event] !== null || lacksDigest(raw, event, vouched.banks)) return false;
  return ofData.has(raw.types[event]!) || (raw.pcrs[event] === 8 && isGrubLine(vouched, event));
}

/** Facts are made of variables and actions in PCR 7, and of GRUB's lines; nothing is believed of other data. */
function isFact(vouched: VouchedLog, event: number): boolean {
  const pcr = vouched.log.raw.pcrs[event];
  return pcr === 7 || (pcr === 8 && isGrubLine(vouched, event));
}

/** UEFI_IMAGE_LOAD_EVENT: its device path takes the rest of the data. A boot sector, which is longer, may look like one. */
function isImage({ log: { bytes, raw } }: VouchedLog, event: number): boolean {
  const path = imagePath(bytes, raw.dataOffsets[event]!, raw.ends[event]!);
  return path !== null && (path.to === raw.ends[event] || raw.types[event] === eventType.application);
}

/** UEFI_VARIABLE_DATA, which text never looks like: half of its lengths is zero. */
function isVariable({ log: { bytes, raw } }: VouchedLog, event: number): boolean {
  return variableValue(bytes, raw.dataOffsets[event]!, raw.ends[event]!) !== null;
}

/** Measured with its name; the rest of PCR 7 before its separator are actions, which say how the machine is protected. */
function isWholeVariable(vouched: VouchedLog, event: number): boolean {
  return vouched.log.raw.types[event] !== eventType.action && wholeVariable(vouched, event) !== null;
}

function isGrubLine({ log: { bytes, raw } }: VouchedLog, event: number): boolean {
  return grubPrefix(bytes, raw.dataOffsets[event]!, raw.ends[event]!) > 0;
}

/**
 * A text in PCR 14, measured as it stands. Attack: a list of shim's moved behind the end of the boot services under another
 * name: shim measures switches of a byte and binary lists, which are no printable text.
 */
export function isTextOfSystem({ log: { raw }, measured }: VouchedLog, event: number): boolean {
  const bytes = raw.pcrs[event] === machineOwnerPcr ? measured[event] : null;
  return !!bytes && bytes.length >= shortestText && bytes.every((byte) => byte >= 0x20 && byte < 0x7f);
}

const shortestText = 4;
