/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the I/O path goes, said to the compiler: what is rare lies out of line, so that what
 * comes by the million is short and straight. Every layer may include this file.
 */
#ifndef NOF_HINT_H
#define NOF_HINT_H

#define NOFI_LIKELY(x)	 __builtin_expect(!!(x), 1)
#define NOFI_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define NOFI_COLD	 __attribute__((cold, noinline))
#define NOFI_INLINE	 static inline __attribute__((always_inline))

#endif
