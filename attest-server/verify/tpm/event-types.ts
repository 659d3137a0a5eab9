/** Event types. PC Client PFP 1.06, section 10.4.1, table of event types. */
const names: readonly (readonly [number, string])[] = [
  [0x00000000, 'EV_PREBOOT_CERT'],
  [0x00000001, 'EV_POST_CODE'],
  [0x00000002, 'EV_UNUSED'],
  [0x00000003, 'EV_NO_ACTION'],
  [0x00000004, 'EV_SEPARATOR'],
  [0x00000005, 'EV_ACTION'],
  [0x00000006, 'EV_EVENT_TAG'],
  [0x00000007, 'EV_S_CRTM_CONTENTS'],
  [0x00000008, 'EV_S_CRTM_VERSION'],
  [0x00000009, 'EV_CPU_MICROCODE'],
  [0x0000000a, 'EV_PLATFORM_CONFIG_FLAGS'],
  [0x0000000b, 'EV_TABLE_OF_DEVICES'],
  [0x0000000c, 'EV_COMPACT_HASH'],
  [0x0000000d, 'EV_IPL'],
  [0x0000000e, 'EV_IPL_PARTITION_DATA'],
  [0x0000000f, 'EV_NONHOST_CODE'],
  [0x00000010, 'EV_NONHOST_CONFIG'],
  [0x00000011, 'EV_NONHOST_INFO'],
  [0x00000012, 'EV_OMIT_BOOT_DEVICE_EVENTS'],
  [0x00000013, 'EV_POST_CODE2'],
  [0x80000000, 'EV_EFI_EVENT_BASE'],
  [0x80000001, 'EV_EFI_VARIABLE_DRIVER_CONFIG'],
  [0x80000002, 'EV_EFI_VARIABLE_BOOT'],
  [0x80000003, 'EV_EFI_BOOT_SERVICES_APPLICATION'],
  [0x80000004, 'EV_EFI_BOOT_SERVICES_DRIVER'],
  [0x80000005, 'EV_EFI_RUNTIME_SERVICES_DRIVER'],
  [0x80000006, 'EV_EFI_GPT_EVENT'],
  [0x80000007, 'EV_EFI_ACTION'],
  [0x80000008, 'EV_EFI_PLATFORM_FIRMWARE_BLOB'],
  [0x80000009, 'EV_EFI_HANDOFF_TABLES'],
  [0x8000000a, 'EV_EFI_PLATFORM_FIRMWARE_BLOB2'],
  [0x8000000b, 'EV_EFI_HANDOFF_TABLES2'],
  [0x8000000c, 'EV_EFI_VARIABLE_BOOT2'],
  [0x8000000d, 'EV_EFI_GPT_EVENT2'],
  [0x80000010, 'EV_EFI_HCRTM_EVENT'],
  [0x800000e0, 'EV_EFI_VARIABLE_AUTHORITY'],
  [0x800000e1, 'EV_EFI_SPDM_FIRMWARE_BLOB'],
  [0x800000e2, 'EV_EFI_SPDM_FIRMWARE_CONFIG'],
  [0x800000e3, 'EV_EFI_SPDM_DEVICE_POLICY'],
  [0x800000e4, 'EV_EFI_SPDM_DEVICE_AUTHORITY'],
];

const byNumber = new Map(names);

/** `EV_…`, or `0x%08X` where the type is unknown. */
export function eventTypeName(type: number): string {
  return byNumber.get(type) ?? `0x${type.toString(16).toUpperCase().padStart(8, '0')}`;
}

/**
 * Events of a dynamic launch in PCR 17 to 22, in a range that the TCG leaves to makers: Intel TXT Measured Launched
 * Environment Developer's Guide, appendix G, and Linux's Secure Launch. Their type stays a number.
 */
export const dynamicLaunchEvents: readonly (readonly [number, string])[] = [
  [0x401, 'Intel TXT PCR_MAPPING'],
  [0x402, 'Intel TXT HASH_START'],
  [0x403, 'Intel TXT COMBINED_HASH'],
  [0x404, 'Intel TXT MLE_HASH'],
  [0x40a, 'Intel TXT BIOSAC_REG_DATA'],
  [0x40b, 'Intel TXT CPU_SCRTM_STAT'],
  [0x40c, 'Intel TXT LCP_CONTROL_HASH'],
  [0x40d, 'Intel TXT ELEMENTS_HASH'],
  [0x40e, 'Intel TXT STM_HASH'],
  [0x40f, 'Intel TXT OSSINITDATA_CAP_HASH'],
  [0x410, 'Intel TXT SINIT_PUBKEY_HASH'],
  [0x411, 'Intel TXT LCP_HASH'],
  [0x412, 'Intel TXT LCP_DETAILS_HASH'],
  [0x413, 'Intel TXT LCP_AUTHORITIES_HASH'],
  [0x414, 'Intel TXT NV_INFO_HASH'],
  [0x415, 'Intel TXT COLD_BOOT_BIOS_HASH'],
  [0x416, 'Intel TXT KM_HASH'],
  [0x417, 'Intel TXT BPM_HASH'],
  [0x418, 'Intel TXT KM_INFO_HASH'],
  [0x419, 'Intel TXT BPM_INFO_HASH'],
  [0x41a, 'Intel TXT BOOT_POL_HASH'],
  [0x4fe, 'Intel TXT RANDOM_VALUE'],
  [0x4ff, 'Intel TXT CAP_VALUE'],
  [0x501, 'tboot module'],
  [0x502, 'Secure Launch'],
  [0x503, 'Secure Launch begins'],
  [0x504, 'Secure Launch ends'],
];

/** The types that the code itself asks for, by their number. */
export const eventType = {
  postCode: 0x00000001,
  noAction: 0x00000003,
  separator: 0x00000004,
  legacyAction: 0x00000005,
  eventTag: 0x00000006,
  crtmContents: 0x00000007,
  crtmVersion: 0x00000008,
  microcode: 0x00000009,
  compactHash: 0x0000000c,
  ipl: 0x0000000d,
  postCode2: 0x00000013,
  variableDriverConfig: 0x80000001,
  variableBoot: 0x80000002,
  application: 0x80000003,
  bootDriver: 0x80000004,
  runtimeDriver: 0x80000005,
  gpt: 0x80000006,
  action: 0x80000007,
  firmwareBlob: 0x80000008,
  handoffTables: 0x80000009,
  firmwareBlob2: 0x8000000a,
  handoffTables2: 0x8000000b,
  variableBoot2: 0x8000000c,
  gpt2: 0x8000000d,
  hcrtm: 0x80000010,
  variableAuthority: 0x800000e0,
  spdmDevicePolicy: 0x800000e3,
  spdmDeviceAuthority: 0x800000e4,
} as const;

export const noAction = eventType.noAction;
