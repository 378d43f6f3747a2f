// Visibility of the library's public symbols: everything else is hidden.
#pragma once

#define LEVIN_API __attribute__((visibility("default")))
