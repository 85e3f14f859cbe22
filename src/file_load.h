/* Loading from a reader, which may be one of memory. */
#ifndef KVB_FILE_LOAD_H
#define KVB_FILE_LOAD_H

#include "file_read.h"

/* As kvb_cache_load and kvb_file_inspect. */
KVB_CHECKED kvb_status kvb_cache_load_from(kvb_file_reader *reader, const kvb_load_limits *limits,
                                           const kvb_backend *backend, const kvb_allocator *allocator, kvb_cache **out,
                                           kvb_error *error);
KVB_CHECKED kvb_status kvb_file_inspect_from(kvb_file_reader *reader, const kvb_load_limits *limits,
                                             const kvb_allocator *allocator, const kvb_file_visitor *visitor,
                                             kvb_error *error);

#endif
