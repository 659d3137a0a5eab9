/**
 * Whether parsed JSON has a member `__proto__`, at whatever depth: it may be another thing to each who reads it, and is
 * passed over by most.
 * @param text that it was parsed from
 */
export function namesPrototype(text: string, value: unknown): boolean {
  // Only a text with one of these can hold it.
  return /__proto__|\\u/.test(text) && hasPrototype(value);
}

/** Not by recursion: a text can nest deeper than a stack. */
export function hasPrototype(whole: unknown): boolean {
  const open = [whole];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value !== 'object' || value === null) continue;
    if (Object.hasOwn(value, '__proto__')) return true;
    for (const member of Object.values(value)) open.push(member);
  }
  return false;
}
