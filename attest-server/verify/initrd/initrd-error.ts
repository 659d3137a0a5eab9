/** Where reading ends: what keeps the kernel from going on, or might have it read something else than this does. */
export class InitrdError extends Error {
  readonly code: 'malformed' | 'too_large';

  constructor(text: string, code: 'malformed' | 'too_large' = 'malformed') {
    super(text);
    this.code = code;
  }
}
