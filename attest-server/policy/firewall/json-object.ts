/** A JSON object that somebody else wrote; its members are anything. */
export type JsonObject = Readonly<Record<string, unknown>>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The members of an object, and none of anything else. */
export function fields(value: unknown): JsonObject {
  return isJsonObject(value) ? value : none;
}

const none: JsonObject = {};
