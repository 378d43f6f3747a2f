// The `levin` binary. It starts without LibTorch; commands that train open the training part when they need it.
#include <levin/app/cli.h>

#include <iostream>

int main(int argc, char** argv) {
  return levin::app::run(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc), std::cout, std::cerr);
}
