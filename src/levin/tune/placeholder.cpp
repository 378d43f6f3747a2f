namespace levin::tune {}
