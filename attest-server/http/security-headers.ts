/** Sent with every answer: nothing here is a page, may be framed, sniffed, cached or read by another origin. */
export const securityHeaders: Readonly<Record<string, string>> = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};

/** Beside them, with what is read under a tag: its reader may keep it, no one else, and asks each time whether it is still so. */
export const readHeaders: Readonly<Record<string, string>> = {
  'cache-control': 'private, no-cache',
  vary: 'authorization',
};
